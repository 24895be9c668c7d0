"""The store: append-only Parquet segments, read through DuckDB."""
