"""The command line, thin: parse, compose, call, print. One module a command, light to import: what is heavy
is imported inside its functions, so that `lumosx --help` and `lumosx check` are instant."""
