"""`python -m jaxrec.features`; see `jaxrec.features.command`."""

import sys

from jaxrec.features.command import main

if __name__ == "__main__":
    sys.exit(main())
