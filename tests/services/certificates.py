"""A certificate authority of a test, and files as clients and brokers want them."""

from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class Authority:
    """Signs certificates; everything it writes is in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder, self._authority = folder, trustme.CA()
        self.certificate = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.certificate))

    def sign(self, name: str) -> Path:
        """A file with a key (PKCS 8, as Java asks for) and the certificate of `name`, at 127.0.0.1 where it serves."""
        signed = self._authority.issue_cert("127.0.0.1", common_name=name)
        key = load_pem_private_key(signed.private_key_pem.bytes(), password=None)
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file = self._folder / f"{name}.pem"
        file.write_bytes(text + b"".join(each.bytes() for each in signed.cert_chain_pems))
        return file
