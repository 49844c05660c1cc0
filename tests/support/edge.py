"""The far end of a tunnel: TLS on an address of its own, behind it the server on loopback.

The address is one of loopback's many (127.x.y.z), so that nobody but this machine is asked, and yet no name of it.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import select
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Forward = Callable[[int], int | None]
"""The port on this machine that a port of the edge leads to, None for none."""
FUNNEL = ("Tailscale-Funnel-Request: ?1", "X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.7")
SECONDS = 20.0


class Edge:
    """Listens at `address` on all of `ports`. `headers` are added to each request, as the tunnel's own end does; what a
    client sent under these names is taken out."""

    def __init__(
        self, folder: Path, ports: Sequence[int], forward: Forward, *, headers: Sequence[str] = FUNNEL
    ) -> None:
        self.address = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}.{secrets.randbelow(250) + 1}"
        self.authority, chain = certificates(folder, self.address)
        self.forward = forward
        self.headers = headers
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain)
        self._listeners = []
        for port in ports:
            listener = socket.create_server((self.address, port))
            self._listeners.append(listener)
            threading.Thread(target=self._listen, args=(listener, listener.getsockname()[1]), daemon=True).start()

    @property
    def ports(self) -> list[int]:
        return [listener.getsockname()[1] for listener in self._listeners]

    def close(self) -> None:
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _listen(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, port), daemon=True).start()

    def _serve(self, plain: socket.socket, port: int) -> None:
        plain.settimeout(SECONDS)
        with suppress(OSError), self._context.wrap_socket(plain, server_side=True) as client:
            head, _, rest = _head(client).partition(b"\r\n\r\n")
            target = self.forward(port)
            if target is None:
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", target), timeout=SECONDS) as server:
                server.sendall(self._with_headers(head) + b"\r\n\r\n" + rest)
                _relay(client, server)

    def _with_headers(self, head: bytes) -> bytes:
        names = {header.partition(":")[0].lower().encode() for header in (*self.headers, "Connection:")}
        first, *lines = head.split(b"\r\n")
        kept = [line for line in lines if line.partition(b":")[0].lower() not in names]
        return b"\r\n".join([first, *kept, *(header.encode() for header in self.headers), b"Connection: close"])


def _head(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < 100_000:
        part = client.recv(65_536)
        if not part:
            break
        data += part
    return data


def _relay(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Until the server has said all. In one thread: OpenSSL takes no reading and writing of one connection at once."""
    open_ends: set[socket.socket] = {client, server}
    with suppress(OSError, ValueError):
        while server in open_ends:
            is_read_already = client in open_ends and client.pending() > 0
            ready = [client] if is_read_already else select.select(open_ends, [], [], SECONDS)[0]
            if not ready:
                return
            for source in ready:
                part = source.recv(65_536)
                if part:
                    (server if source is client else client).sendall(part)
                else:
                    open_ends.discard(source)


def certificates(folder: Path, address: str) -> tuple[Path, Path]:
    """An authority of its own, and a key with the certificate that it gave for `address`."""
    now = datetime.datetime.now(datetime.UTC)
    span = (now - datetime.timedelta(days=1), now + datetime.timedelta(days=30))
    issuer_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(issuer_key.public_key())
    authority = (
        _certificate(issuer, issuer, issuer_key.public_key(), span)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    leaf = (
        _certificate(name, issuer, key.public_key(), span)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    authority_file, chain_file = folder / "authority.pem", folder / "edge.pem"
    pem = serialization.Encoding.PEM
    authority_file.write_bytes(authority.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain_file.write_bytes(private + leaf.public_bytes(pem))
    return authority_file, chain_file


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, span: tuple[datetime.datetime, ...]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(span[0])
        .not_valid_after(span[1])
    )
