"""What winnow does to data: one verb per file, a frozen config and a function; `core` runs them, `kernels` speeds them up."""
