"""Where the data live, and how sums over them are made. Nothing here knows a loss or a model."""
