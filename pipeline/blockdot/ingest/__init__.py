"""Raw files become features, and features become blocks. Everything depends on the files and the spec alone."""
