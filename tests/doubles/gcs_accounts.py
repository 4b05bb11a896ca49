"""The account that the double of Google Cloud Storage knows: its name, its token, its key."""

from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import credentials
from google.auth.crypt import RSASigner

EMAIL = "functions@project.iam.gserviceaccount.com"
TOKEN = "token-of-the-double"


class Running(credentials.Credentials):
    """The account that a function of Google's runs as: it has a name and a token, and no key."""

    service_account_email = EMAIL

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.token = TOKEN

    def refresh(self, request: object) -> None:
        """Keep the token: it is good for ever."""


class Keyed(Running, credentials.Signing):
    """A service account with a key: that of this process, or one that is given as its file has it."""

    signer_email = EMAIL

    def __init__(self, given: str | None = None) -> None:
        super().__init__()
        self._pem = given or pem()

    @property
    def signer(self) -> RSASigner:
        return signer(self._pem)

    def sign_bytes(self, message: bytes) -> bytes:
        signed: bytes = self.signer.sign(message)
        return signed


@cache
def key() -> rsa.RSAPrivateKey:
    """Make the key of the service account."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def pem() -> str:
    """Return the key as a service account's file has it."""
    form = serialization.PrivateFormat.PKCS8
    return key().private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@cache
def signer(text: str) -> RSASigner:
    """Make the signer that has a key."""
    made: RSASigner = RSASigner.from_string(text)  # type: ignore[no-untyped-call]
    return made
