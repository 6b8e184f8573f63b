"""Names that are part of the public API: group, kinds, labels, annotations, condition types."""

from typing import Final

GROUP: Final = "converter.mynetwork.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "ConversionJob"
PLURAL: Final = "conversionjobs"
SINGULAR: Final = "conversionjob"
SHORT_NAME: Final = "convjob"
CATEGORY: Final = "mynetwork"

QUEUE_KIND: Final = "ConversionQueue"
QUEUE_PLURAL: Final = "conversionqueues"
QUEUE_SINGULAR: Final = "conversionqueue"
QUEUE_SHORT_NAME: Final = "convqueue"
DEFAULT_QUEUE: Final = "default"
"""The queue of conversions that name none. It exists also without a ConversionQueue."""

PROFILE_KIND: Final = "ConversionProfile"
PROFILE_PLURAL: Final = "conversionprofiles"
PROFILE_SINGULAR: Final = "conversionprofile"
PROFILE_SHORT_NAME: Final = "convprofile"

CONFIG_MAP_KIND: Final = "ConfigMap"
CONFIG_MAP: Final = "my-network-converter-operator"
"""The ConfigMap with the operator's settings, in the operator's namespace."""

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "my-network-converter"
MANAGER_PREFIX: Final = f"{MANAGED_BY}."
"""With the namespace of an operator, this is its field manager for status writes."""
NAME_LABEL: Final = "app.kubernetes.io/name"
CONVERTER_NAME: Final = "my-converter"
UID_LABEL: Final = f"{GROUP}/conversion-uid"
CONVERSION_NAME_LABEL: Final = f"{GROUP}/conversion-name"
"""The ConversionJob's name, for selectors that people type. A long name is cut and hashed."""
ATTEMPT_LABEL: Final = f"{GROUP}/attempt"
CONVERSION_ANNOTATION: Final = f"{GROUP}/conversion"
"""The whole name of the ConversionJob. It may be too long for a label."""
OPERATOR_NAMESPACE_LABEL: Final = f"{GROUP}/operator-namespace"
"""A label on each namespace of conversions: the namespace of its operator and HTTP API."""
MARK_ANNOTATION: Final = f"{GROUP}/mark"
"""Proves that the operator created a Job. See ``core.identity``."""
IMAGE_ANNOTATION: Final = f"{GROUP}/image"
"""The image that the operator set in a Job. An admission policy may have replaced it there."""

POD_SETTINGS_ANNOTATION: Final = f"{GROUP}/pod-settings"
"""The fingerprint of the pod settings of a Job. An admission policy may have changed the Job."""

QUEUE_ANNOTATION: Final = f"{GROUP}/queue"
"""The queue in which a Job or a pod takes its slot. spec.queue may have changed since."""

# What the HTTP API writes on the ConversionJobs that it creates.
CALLER_ANNOTATION: Final = f"{GROUP}/caller"
"""Who created the ConversionJob through the HTTP API. deploy/policies protects it."""
CALLER_INPUT_ANNOTATION: Final = f"{GROUP}/caller-input-file"
CALLER_OUTPUT_ANNOTATION: Final = f"{GROUP}/caller-output-file"
CALLER_PREFIXES_ANNOTATION: Final = f"{GROUP}/caller-path-prefixes"
"""How the caller names several outputs. See ``converter_gateway.caller_paths``."""
TRACEPARENT_ANNOTATION: Final = f"{GROUP}/traceparent"
"""The trace of the caller that asked for the conversion. See ``core.trace``."""
REQUEST_HASH_ANNOTATION: Final = f"{GROUP}/request-sha256"
RETRY_ANNOTATION: Final = f"{GROUP}/retry-of"
"""The uid of the ConversionJob that this one retries. The kubectl plugin writes it, too."""
CONTENT_ID_ANNOTATION: Final = f"{GROUP}/content-id"
CONTENT_TYPE_ANNOTATION: Final = f"{GROUP}/content-type"
CONTENT_SIZE_ANNOTATION: Final = f"{GROUP}/content-conversions"
"""How many conversions the content needs in all."""
CONTENT_LABEL: Final = f"{GROUP}/content"
CONTENT_INPUT_LABEL: Final = f"{GROUP}/content-input"
CONTENT_OUTPUT_LABEL: Final = f"{GROUP}/content-output"

NAMESPACE_PATTERN: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
"""The names that Kubernetes allows for a namespace."""

CONDITION_SUCCEEDED: Final = "Succeeded"
CONDITION_FINISHED: Final = "Finished"
# Flux, Helm and kapply compute the health of an object from these two (kstatus).
CONDITION_RECONCILING: Final = "Reconciling"
CONDITION_STALLED: Final = "Stalled"

ANNOTATIONS: Final = frozenset(
    value for name, value in tuple(globals().items()) if name.endswith("_ANNOTATION")
)
"""The annotations above. The operator and the HTTP API keep no others in memory."""
