"""Below all of it: files, values, tables of text, this machine."""
