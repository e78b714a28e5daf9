"""Runs the real Terraform where no provider can be downloaded, with stand-ins that know the
providers' schemas."""
