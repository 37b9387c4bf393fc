"""What is summed: losses (pointwise in z), predictors (w → z), penalties, and the passes over one block."""
