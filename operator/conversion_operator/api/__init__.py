"""What users see: the resource, its status, its reasons, and the CRD made from them. No I/O."""
