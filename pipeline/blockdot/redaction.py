"""What may be shown: text without secrets, and without characters that would command a terminal.

    tls://ada:pw@host         tls://***@host          credentials in a URL (or in what pathlib makes of one)
    ?X-Amz-Signature=d6f…     ?X-Amz-Signature=***    what is assigned to a name that ends in a word for a secret
    "token": "d6f…"           "token": "***"
    Bearer d6f…               Bearer ***
    -----BEGIN PRIVATE KEY…   -----BEGIN PRIVATE KEY----- ***

Every error of ours, log, printed line and resolved job spec goes through :func:`redacted`. It knows forms, not
meanings: a secret that looks like nothing in particular is shown.
"""

from __future__ import annotations

import re

_WORDS = (
    "password|passwd|passphrase|secret|token|credentials?|signature|api[_-]?key|access[_-]?key|account[_-]?key|"
    "secret[_-]?key|private[_-]?key|authorization"
)
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        r"\1 ***",
    ),
    (re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/{1,2})(?:[^\s/@:]+:[^\s@]*|[^\s/@]+)@"), r"\1***@"),
    (re.compile(rf"""(?i)((?:{_WORDS})["']?\s*=\s*)("[^"]*"|'[^']*'|[^\s&,;(){{}}\[\]"']+)"""), r"\1***"),
    (re.compile(rf"""(?i)((?:{_WORDS})["']\s*:\s*)("[^"]*"|'[^']*')"""), r"\1***"),
    (re.compile(r"([?&](?:key|sig|code)=)[^\s&\"']+"), r"\1***"),
    (re.compile(r"""(?i)(authorization["']?\s*[:=]\s*["']?(?:bearer|basic)\s+)[^\s"']+"""), r"\1***"),
    (re.compile(r"\b(Bearer)\s+[A-Za-z0-9+/._~-]{16,}=*"), r"\1 ***"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def redacted(text: str) -> str:
    """``text`` with ``***`` for each secret, and control characters (not tabs and line ends) as escapes."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], without_secrets(text))


def without_secrets(text: str) -> str:
    """``text`` with ``***`` for each secret."""
    for form, shown in _FORMS:
        text = form.sub(shown, text)
    return text
