"""Any export becomes one dialect: a pass a file, in an order that `prepare` says."""
