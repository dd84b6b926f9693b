"""A client of the service, made from its .proto files alone: client.py SOCKET PROTO_FOLDER

The messages are compiled from the files; the frame and the operations' numbers are those that the files' comments
give. It makes a key, uses it, has it and the platform attested, checks what it gets, and prints a line for each step.
"""

import hashlib
import os
import pathlib
import re
import socket
import struct
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

import tpm_evidence as evidence

CORE = 0
HEADER = struct.Struct("<IHBBHBQBBBIHIHH")
MAGIC, REST_OF_HEADER = 0x5EC0A710, 30
NO_AUTHENTICATION, UNIX_PEER_CREDENTIALS = 0, 3


class Refused(Exception):
    """A response whose status is not success."""

    def __init__(self, status, detail):
        super().__init__(status, detail)
        self.status, self.detail = status, detail


class Protocol:
    """What the .proto files say: messages and operations."""

    def __init__(self, folder):
        files = ["parsec.proto", "vouchsafe.proto"]
        with tempfile.TemporaryDirectory() as scratch:
            out = os.path.join(scratch, "set")
            if protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={out}", *files]) != 0:
                raise SystemExit("the .proto files do not compile")
            described = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out).read_bytes())
        pool = descriptor_pool.DescriptorPool()
        self.messages = {}
        for file in described.file:
            pool.Add(file)
        for file in described.file:
            for message in file.message_type:
                descriptor = pool.FindMessageTypeByName(f"{file.package}.{message.name}")
                self.messages[message.name] = message_factory.GetMessageClass(descriptor)
        table = re.compile(r"^//\s+0x([0-9A-F]{4})\s+(\w+)\s.*?(\w+)\s+->\s+(\w+)$", re.MULTILINE)
        self.operations = {}
        for file in files:
            for number, name, request, result in table.findall(pathlib.Path(folder, file).read_text()):
                self.operations[name] = (int(number, 16), self.messages[request], self.messages[result])


class Client:
    """A connection."""

    def __init__(self, path, protocol):
        self.protocol = protocol
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)

    def call(self, provider, name, authenticated=True, **fields):
        """Asks for an operation; its result's message, or Refused."""
        opcode, request, result = self.protocol.operations[name]
        body = request(**fields).SerializeToString()
        kind = UNIX_PEER_CREDENTIALS if authenticated else NO_AUTHENTICATION
        auth = struct.pack("<I", os.geteuid()) if authenticated else b""
        header = (MAGIC, REST_OF_HEADER, 1, 0, 0, provider, 0, 0, 0, kind, len(body), len(auth), opcode, 0, 0)
        self.socket.sendall(HEADER.pack(*header) + body + auth)
        answer = HEADER.unpack(self.receive(HEADER.size))
        body, status = self.receive(answer[10]), answer[13]
        if status != 0:
            raise Refused(status, self.protocol.messages["ErrorDetail"].FromString(body))
        assert answer[0] == MAGIC and answer[12] == opcode, answer
        return result.FromString(body)

    def receive(self, length):
        octets = b""
        while len(octets) < length:
            octets += self.socket.recv(length - len(octets)) or sys.exit("the service has closed the connection")
        return octets


def discover(client):
    pong = client.call(CORE, "Ping", authenticated=False)
    print(f"ping {pong.wire_protocol_version_maj}.{pong.wire_protocol_version_min}")
    listed = client.call(CORE, "ListProviders", authenticated=False)
    providers = [*listed.providers, *listed.extension_providers]
    print("providers", *(provider.id for provider in providers))
    provider = providers[0].id
    listed = client.call(CORE, "ListOpcodes", authenticated=False, provider_id=provider)
    numbers = [*listed.opcodes, *listed.extension_opcodes]
    known = {number for number, _, _ in client.protocol.operations.values()}
    print("operations", "known" if set(numbers) <= known else f"unknown: {set(numbers) - known}")
    for mechanism in client.call(provider, "ListMechanisms", authenticated=False).mechanisms:
        print("mechanism", mechanism.name, mechanism.version, mechanism.stability, mechanism.subject)
    return provider


def make_and_sign(client, provider, key):
    algorithm = {"ecdsa": {"hash_alg": {"specific": 7}}}
    attributes = {
        "key_type": {"ecc_key_pair": {"curve_family": 2}},
        "key_bits": 256,
        "key_policy": {
            "key_usage_flags": {"sign_hash": True},
            "key_algorithm": {"asymmetric_signature": algorithm},
        },
    }
    client.call(provider, "PsaGenerateKey", key_name=key, attributes=attributes)
    public = evidence.sec1(client.call(provider, "PsaExportPublicKey", key_name=key).data)
    digest = hashlib.sha256(b"what is signed").digest()
    signature = client.call(provider, "PsaSignHash", key_name=key, alg=algorithm, hash=digest).signature
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    assert evidence.ecdsa_holds(public, b"what is signed", r, s)
    assert not evidence.ecdsa_holds(public, b"what is not", r, s)
    print("signature holds")
    return public


def attested(statement, kind, nonce, signer):
    """What a statement in TPM structures attests, once its signature and its nonce hold."""
    parts = evidence.sequence(statement)
    octets, signature = parts[0][1], parts[1][1]
    assert evidence.ecdsa_holds(signer, octets, *evidence.tpm_signature(signature))
    extra_data, body = evidence.tpms_attest(octets, kind)
    assert extra_data == nonce, "the nonce is another one"
    return body, parts


def attest(client, provider, key, public):
    """By every mechanism; the nonce is found in each."""
    keys = client.call(provider, "ListAttestingKeys").keys
    (default,) = [known for known in keys if known.is_default]
    print("attesting key", default.name, default.algorithm, *default.families)
    signer = evidence.point(default.public)

    nonce = os.urandom(32)
    made = client.call(provider, "AttestKey", key_name=key, nonce=nonce, tpm_certify={})
    body, parts = attested(made.statement, evidence.TPM_ST_ATTEST_CERTIFY, nonce, signer)
    name, _ = evidence.tpm2b(body)
    area = parts[2][1]
    assert name == b"\x00\x0b" + hashlib.sha256(area).digest(), "another key is attested"
    assert public[0].to_bytes(32, "big") in area
    print(made.format, made.statement_oid, "nonce and signature hold")

    nonce = os.urandom(32)
    made = client.call(provider, "AttestKey", key_name=key, nonce=nonce, tpm_certify_x509={"subject": ""})
    signed, spki, signature, found = evidence.certificate(made.certificate)
    assert evidence.ecdsa_holds(signer, signed, *signature)
    assert found == nonce, "the nonce is another one"
    assert evidence.point(spki) == public, "another key is certified"
    print(made.format, made.statement_oid, "nonce and signature hold")

    nonce = os.urandom(32)
    made = client.call(provider, "AttestPlatform", nonce=nonce, tpm_quote={"indices": [0, 7]})
    attested(made.statement, evidence.TPM_ST_ATTEST_QUOTE, nonce, signer)
    print(made.format, made.statement_oid, "nonce and signature hold")


def refusals(client, provider, key):
    right = {"key_name": key, "nonce": bytes(32), "tpm_certify": {}}
    for what, wrong in [
        ("short nonce", {"nonce": b"short"}),
        ("no mechanism", {"tpm_certify": None}),
        ("unknown key", {"key_name": "nobody's"}),
        ("unknown attesting key", {"attesting_key": "nobody's"}),
    ]:
        try:
            client.call(provider, "AttestKey", **{**right, **wrong})
        except Refused as refused:
            detail = refused.detail
            assert detail.message and detail.next_step
            print(f"{what}: {refused.status} {detail.code}")
        else:
            raise SystemExit(f"{what}: not refused")


def main():
    path, folder = sys.argv[1:]
    client = Client(path, Protocol(folder))
    key = "made-in-python"
    provider = discover(client)
    public = make_and_sign(client, provider, key)
    attest(client, provider, key, public)
    refusals(client, provider, key)
    listed = client.call(CORE, "ListKeys")
    print("keys", *(found.name for found in [*listed.keys, *listed.extension_keys]))
    client.call(provider, "PsaDestroyKey", key_name=key)
    print("done")


main()
