"""The MY Network converter operator: runs a Job for each attempt at a ConversionJob."""
