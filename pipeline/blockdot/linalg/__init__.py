"""The rows of a data set as a matrix: inner products as a library. Nothing here knows a loss or a model."""
