"""What people use: models that predict and are saved, scikit-learn estimators, metrics."""
