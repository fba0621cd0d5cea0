"""What people see of datasets and batches, in a notebook and as figures."""
