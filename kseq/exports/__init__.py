"""What a dataset can be exported to, one module each."""
