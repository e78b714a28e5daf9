"""What the checks of `kfgcp doctor` share. Each module has one family of checks."""
