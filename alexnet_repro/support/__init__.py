"""Used by all others: files, values, tables of text, this machine."""
