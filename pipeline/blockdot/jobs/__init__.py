"""Batch jobs: a TOML spec, the stages ingest → fit → evaluate → predict, and where they run."""
