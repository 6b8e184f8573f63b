"""The MY Network converter operator: ConversionJob resources in, converted files out."""
