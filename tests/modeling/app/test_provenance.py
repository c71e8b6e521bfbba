"""The C2PA manifest of a file."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from modeling_dfa_gpt.app.provenance import STATES, c2pa_as_text
from modeling_dfa_gpt.app.upload import open_upload


@pytest.fixture(scope="module")
def signed() -> bytes:
    """A JPEG with a manifest that is signed by an untrusted certificate."""
    c2pa = pytest.importorskip("c2pa")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(oid, common) for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)])

    def certificate(subject: str, public: ec.EllipticCurvePublicKey, is_root: bool) -> bytes:
        now, day = datetime.now(UTC), timedelta(days=1)
        builder = x509.CertificateBuilder(name("A root"), name(subject), public, x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        extensions = [
            (x509.BasicConstraints(is_root, None), True),
            (x509.KeyUsage(not is_root, *[False] * 4, is_root, is_root, False, False), True),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False),
        ]
        if not is_root:
            extensions.append((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    chain = certificate("A camera", key.public_key(), False) + certificate("A root", root.public_key(), True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    done = {"action": "c2pa.created", "digitalSourceType": "http://cv.iptc.org/newscodes/trainedAlgorithmicMedia"}
    manifest = {
        "title": "face.jpg",
        "claim_generator_info": [{"name": "<b>A studio", "version": "1.0"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [done]}}],
    }
    picture, out = io.BytesIO(), io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(picture, "JPEG")
    picture.seek(0)
    c2pa.Builder(manifest).sign(
        c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, secret, None)), "image/jpeg", picture, out
    )
    return out.getvalue()


def test_manifest_is_read(signed: bytes, tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(signed)
    found = dict(open_upload(tmp_path / "face.jpg").c2pa or ())
    assert found["State"] == STATES["Valid"] and found["Signed by"].startswith("A camera")
    assert found["Made with"] == "<b>A studio 1.0" and found["Actions"] == "c2pa.created trainedAlgorithmicMedia"
    assert "untrusted" in found["Errors"]


def test_changed_file_is_invalid(signed: bytes) -> None:
    changed = bytearray(signed)
    changed[-500] ^= 1
    assert dict(c2pa_as_text(bytes(changed)) or ())["State"] == STATES["Invalid"]


def test_file_without_a_manifest() -> None:
    pytest.importorskip("c2pa")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    assert c2pa_as_text(buffer.getvalue()) == ()


def test_without_c2pa_python_the_manifest_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert c2pa_as_text(b"") is None
