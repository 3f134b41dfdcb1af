"""Jobs: data, model, loss and evaluation joined; each has run(config, workdir)."""
