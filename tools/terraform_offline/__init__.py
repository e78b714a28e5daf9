"""Run the real Terraform where no provider can be downloaded.

Stand-ins that know the schemas of the providers take their place.
"""
