"""Certificates for tests, as files."""

from pathlib import Path

import trustme


def write_keys(authority: trustme.CA, folder: Path, name: str, *others: str) -> None:
    """ca.pem, NAME.pem and NAME.key, for the name and the others."""
    folder.mkdir(exist_ok=True)
    made = authority.issue_cert(name, *others, key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    made.private_key_pem.write_to_path(folder / f"{name}.key")
    (folder / f"{name}.pem").write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
