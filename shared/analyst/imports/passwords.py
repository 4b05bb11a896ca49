"""Which kept passwords can be checked here."""

_MOST_KIB = 1 << 18
_MOST_TIMES = 16


def is_usable(password_hash: str) -> bool:
    """Tell whether a password is kept as argon2id, and checking it takes no more than 256 MB and 16 rounds."""
    from argon2 import Type, extract_parameters
    from argon2.exceptions import InvalidHashError

    try:
        parameters = extract_parameters(password_hash)
    except (InvalidHashError, ValueError):
        return False
    return parameters.type is Type.ID and parameters.memory_cost <= _MOST_KIB and parameters.time_cost <= _MOST_TIMES
