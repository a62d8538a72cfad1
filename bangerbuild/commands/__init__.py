"""What commands other than `plan` and `apply` do: one module each, without printing."""
