"""Raw files → features → blocks. The bytes of a store depend on the files and the spec alone, not on who made it."""
