"""TLS in tests: an authority that issues certificates (by the openssl command), clients and origins."""

import base64
import os
import shutil
import ssl
import subprocess
import tempfile

from .gateway import route
from .origin import Origin
from .raw import RawClient


class Authority:
    """Issues certificates into a directory of its own."""

    def __init__(self, name="Test CA"):
        self.directory = tempfile.mkdtemp(prefix="sluice-ca-")
        os.chmod(self.directory, 0o755)
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-days", "2", "-subj", f"/CN={name}", "-keyout", "ca.key", "-out", "ca.pem")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def read(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def openssl(self, *arguments, input=None):
        done = subprocess.run(["openssl", *arguments], cwd=self.directory, input=input,
                              capture_output=True)
        assert done.returncode == 0, f"openssl {arguments}: {done.stderr.decode()}"
        return done.stdout

    def issue(self, name, *names, kind="ec", days=2, issuer="ca"):
        """NAME.pem and NAME.key with these DNS names (or IP:...); `days` below 0 is expired."""
        alternatives = ",".join(one if ":" in one else f"DNS:{one}" for one in names or [name])
        return self._sign(name, f"subjectAltName={alternatives}", kind, days, issuer)

    def issue_authority(self, name, issuer="ca"):
        return self._sign(name, "basicConstraints=critical,CA:TRUE", "ec", 2, issuer)

    def chain(self, name, *issuers):
        """NAME.chain: the certificate with those that lead to the root."""
        with open(self.path(f"{name}.chain"), "w") as file:
            file.writelines(self.read(f"{one}.pem") for one in (name, *issuers))

    def _sign(self, name, extension, kind, days, issuer):
        key = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        self.openssl("req", "-newkey", *key, "-nodes", "-subj", f"/CN={name}",
                     "-keyout", f"{name}.key", "-out", f"{name}.csr")
        with open(self.path(f"{name}.ext"), "w") as file:
            file.write(extension + "\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem",
                     "-CAkey", f"{issuer}.key", "-CAcreateserial", "-days", str(days), "-extfile", f"{name}.ext",
                     "-out", f"{name}.pem")
        return self

    def ssl(self, name, *snis, **fields):
        """An object of `ssls` that shows NAME.pem for these names."""
        return {"id": name, "cert": self.read(f"{name}.pem"), "key": self.read(f"{name}.key"),
                "snis": list(snis or [name]), **fields}

    def client(self, certificate=None, verify=True, alpn=None, version=None):
        context = ssl.create_default_context(cafile=self.path("ca.pem"))
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(self.path(f"{certificate}.pem"), self.path(f"{certificate}.key"))
        if alpn:
            context.set_alpn_protocols(alpn)
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def server(self, certificate, client_ca=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(f"{certificate}.pem"), self.path(f"{certificate}.key"))
        if client_ca:
            context.load_verify_locations(self.path("ca.pem"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def ocsp_response(self, name):
        """That NAME.pem is good, in base64."""
        serial = self.openssl("x509", "-in", f"{name}.pem", "-noout", "-serial").decode()
        serial = serial.strip().partition("=")[2]
        with open(self.path("index.txt"), "w") as file:
            file.write(f"V\t401231235959Z\t\t{serial}\tunknown\t/CN={name}\n")
        self.openssl("ocsp", "-issuer", "ca.pem", "-cert", f"{name}.pem", "-reqout", "request.der",
                     "-no_nonce")
        self.openssl("ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey",
                     "ca.key", "-reqin", "request.der", "-respout", f"{name}.ocsp", "-ndays", "1")
        with open(self.path(f"{name}.ocsp"), "rb") as file:
            return base64.b64encode(file.read()).decode()


class TlsClient(RawClient):
    """`preface`: sent as it is, before the handshake."""

    def __init__(self, port, context, name=None, session=None, preface=b""):
        super().__init__(port)
        try:
            self.send(preface)
            self.socket = context.wrap_socket(self.socket, server_hostname=name, session=session)
            if self.socket.version() is None:  # Python takes a socket that was reset for unconnected
                raise ConnectionResetError("reset before the handshake")
        except BaseException:
            self.socket.close()
            raise

    @property
    def subject(self):
        """The common name of the certificate that the server has shown."""
        return dict(part[0] for part in self.socket.getpeercert()["subject"])["commonName"]


class TlsOrigin(Origin):
    """An origin behind TLS. `cut`: closes without the TLS end mark. `context` may be set later."""

    def __init__(self, context, script=None, cut=False):
        self.context = context
        self.cut = cut
        self.refused = []
        self.names = []
        super().__init__(script)

    def _run(self, connection):
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        try:
            connection.socket = self.context.wrap_socket(connection.socket, server_side=True,
                                                         suppress_ragged_eofs=True)
        except OSError as failure:
            self.refused.append(failure)
            return connection.close()
        plain_close = connection.close

        def close():
            if not self.cut:
                try:
                    connection.socket.unwrap()
                except (OSError, ValueError):
                    pass
            plain_close()
        connection.close = close
        super()._run(connection)


def config(origin, *ssls, tls=None, listen=None, **fields):
    """A gateway with a TLS listener, these certificates and one route to `origin`."""
    process = {"listen": [{"address": "127.0.0.1:$PORT", "tls": True, **(listen or {})}],
               **fields}
    if tls:
        process["tls"] = tls
    return {"gateway": process, "ssls": list(ssls), "routes": [route(origin.port)]}


def get(host, path="/", *fields):
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def fetch(client, host, path="/"):
    client.send(get(host, path))
    return client.read_response()


def connect(gateway, ca, name="a.test", session=None, **options):
    return TlsClient(gateway.port, ca.client(**options), name, session)


def s_client(gateway, *arguments, input=b""):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", *arguments],
                          input=input, capture_output=True, timeout=30)
    return (done.stdout + done.stderr).decode(errors="replace")
