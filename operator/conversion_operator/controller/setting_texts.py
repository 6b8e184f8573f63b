"""What the admission policy lets a text of a setting look like.

The policy needs regular expressions (RE2), which have no lookahead. A test compares them with what
the operator accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from conversion_operator.api.names import NAMESPACE_PATTERN
from conversion_operator.api.spec import CALLBACK_URL_PATTERN


@dataclass(frozen=True, slots=True)
class TextRule:
    """A regular expression (RE2) that every valid text of a setting matches completely.

    ``told`` says what is allowed.
    """

    pattern: str
    told: str


_PART: Final = r"([A-Za-z0-9_-]|\{namespace\})"
_SEGMENT: Final = (
    f"({_PART}({_PART}|[.]){{0,62}}|[.]{_PART}({_PART}|[.]){{0,61}}|[.][.]({_PART}|[.]){{1,61}})"
)
_PATH: Final = f"/*{_SEGMENT}(/{_SEGMENT}){{0,8}}/*"
_HOST: Final = (
    r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%[^\s,]+)?)"
)

_LABEL: Final = (
    r"([a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
)


def _list_of(item: str) -> str:
    return rf"[\s,]*{item}(\s*,[\s,]*{item})*[\s,]*"


def _optional(pattern: str) -> str:
    return rf"({pattern})|[\s,]*"


_STAR: Final = "[*]"
NAMESPACES: Final = TextRule(
    f"{_list_of(NAMESPACE_PATTERN)}|{_list_of(_STAR)}",
    "Allowed: names of namespaces, separated by commas, or * for all namespaces.",
)
QUANTITY: Final = TextRule(
    r"([0-9]{1,15}[.]?[0-9]{0,15}|[.][0-9]{1,15})(m|k|M|G|T|Ki|Mi|Gi|Ti)?",
    "Allowed: a Kubernetes quantity, such as 500m or 2Gi.",
)
CALLBACK_URL: Final = TextRule(
    f"({CALLBACK_URL_PATTERN.strip('^$')})?",
    "Allowed: empty, or a URL that begins with http:// or https:// and has no user name.",
)
CALLBACK_HOSTS: Final = TextRule(
    _optional(_list_of(_HOST)),
    "Allowed: names of hosts without scheme, port and wildcard, separated by commas.",
)
NAMESPACE_HOSTS: Final = TextRule(
    rf"\s*({NAMESPACE_PATTERN}=,*({_HOST}(,+{_HOST})*,*)?(\s+|$))*",
    "Allowed: NAMESPACE=HOST,HOST, separated by spaces or line ends.",
)
LABEL_NAMES: Final = TextRule(
    _optional(_list_of(_LABEL)), "Allowed: names of labels, separated by commas."
)
ONE_FOLDER: Final = TextRule(
    f"/*|{_PATH}", "Allowed: a folder of letters, digits, . _ - / and {namespace}, without . and .."
)
FOLDERS: Final = TextRule(
    _optional(_list_of(_PATH.replace(r"|\{namespace\}", ""))),
    "Allowed: folders of letters, digits, . _ - and /, separated by commas, without . and ..",
)
