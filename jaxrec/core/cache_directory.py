"""Where this machine keeps what it would otherwise prepare anew."""

import os
from pathlib import Path

CACHE_DIRECTORY = "JAXREC_CACHE_DIR"


def cache_directory(named: str = "") -> Path:
    """The directory named by the config, else by the environment, else the default."""
    named = named or os.environ.get(CACHE_DIRECTORY) or "~/.cache/jaxrec"
    return Path(named).expanduser()
