"""What `kfgcp doctor` looks at: one module a family of checks, each check a small function."""
