"""A Vertex AI API on loopback, gRPC over TLS as the real one, that records what it is sent and fails as told."""

import contextlib
import datetime
import json
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from google.cloud import aiplatform_v1
from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from grpc import StatusCode

_PREFIX = "google.cloud.aiplatform.v1"


@dataclass
class RecordedVertexApi:
    """What the API was asked, and what it answers.

    Attributes:
        endpoint: ``host:port`` it listens at.
        requests: Requests to start a run, refused ones too.
        jobs: Runs it has started, by resource name.
        authorizations: The ``authorization`` header of each request to start a run.
        create_answers: Its next answers to requests for a run; when used up, it starts them.
        accepts_and_fails: Start the run, then answer as if that had failed.
        contexts: Experiments, by resource name.
        children: Runs filed under an experiment, by the experiment's resource name.
        metadata_stores: Resource names of the metadata stores there are.
        metadata_answer: Its answer to who looks for an experiment, None to tell.
        filing_answer: Its answer to who files a run under an experiment, None to do it.
        job_reads: How often a run was looked at.
        list_answer: Its answer to who lists the runs, None to do it.
    """

    endpoint: str = ""
    requests: list[Any] = field(default_factory=list)
    jobs: dict[str, Any] = field(default_factory=dict)
    authorizations: list[str] = field(default_factory=list)
    create_answers: list[tuple[StatusCode, str]] = field(default_factory=list)
    accepts_and_fails: bool = False
    contexts: dict[str, Any] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    metadata_stores: set[str] = field(default_factory=set)
    metadata_answer: tuple[StatusCode, str] | None = None
    filing_answer: tuple[StatusCode, str] | None = None
    job_reads: int = 0
    list_answer: tuple[StatusCode, str] | None = None

    def create_pipeline_job(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        self.authorizations += [str(value) for key, value in context.invocation_metadata() if key == "authorization"]
        name = f"{request.parent}/pipelineJobs/{request.pipeline_job_id}"
        if name in self.jobs:
            context.abort(StatusCode.ALREADY_EXISTS, f"{name} exists")
        answer = self.create_answers.pop(0) if self.create_answers else None
        if answer is None or self.accepts_and_fails:
            job = aiplatform_v1.PipelineJob(request.pipeline_job)
            job.name = name
            self.jobs[name] = job
        if answer:
            context.abort(*answer)
        return self.jobs[name]

    def get_pipeline_job(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The run's metadata context is there at the second look, as the real one's is some seconds later."""
        job = self.jobs[request.name]
        self.job_reads += 1
        if self.job_reads > 1:
            parent = request.name.partition("/pipelineJobs/")[0]
            job.job_detail.pipeline_run_context.name = f"{parent}/metadataStores/default/contexts/run"
        return job

    def list_pipeline_jobs(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self.list_answer:
            context.abort(*self.list_answer)
        return aiplatform_v1.ListPipelineJobsResponse(pipeline_jobs=list(self.jobs.values()))

    def get_context(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self.metadata_answer:
            context.abort(*self.metadata_answer)
        if request.name not in self.contexts:
            context.abort(StatusCode.NOT_FOUND, f"{request.name} not found")
        return self.contexts[request.name]

    def create_context(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.parent not in self.metadata_stores:
            context.abort(StatusCode.NOT_FOUND, f"{request.parent} not found")
        name = f"{request.parent}/contexts/{request.context_id}"
        self.contexts[name] = request.context
        return request.context

    def get_metadata_store(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.name not in self.metadata_stores:
            context.abort(StatusCode.NOT_FOUND, f"{request.name} not found")
        return aiplatform_v1.MetadataStore(name=request.name)

    def create_metadata_store(self, request: Any, context: grpc.ServicerContext) -> Any:
        name = f"{request.parent}/metadataStores/{request.metadata_store_id}"
        self.metadata_stores.add(name)
        result = any_pb2.Any()
        result.Pack(aiplatform_v1.MetadataStore.pb(aiplatform_v1.MetadataStore(name=name)))
        return operations_pb2.Operation(name=f"{name}/operations/1", done=True, response=result)

    def add_context_children(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self.filing_answer:
            context.abort(*self.filing_answer)
        self.children.setdefault(request.context, []).extend(request.child_contexts)
        return aiplatform_v1.AddContextChildrenResponse()


@contextlib.contextmanager
def recorded_vertex_api(certificate: Path, key: Path) -> Iterator[RecordedVertexApi]:
    """Serve the API until the block ends.

    Args:
        certificate: PEM file with a certificate for ``localhost``.
        key: PEM file with its private key.
    """
    recorded = RecordedVertexApi()
    v1 = aiplatform_v1
    operation = operations_pb2.Operation.SerializeToString
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers(
        (
            _service(
                f"{_PREFIX}.PipelineService",
                CreatePipelineJob=(
                    recorded.create_pipeline_job,
                    v1.CreatePipelineJobRequest.deserialize,
                    v1.PipelineJob.serialize,
                ),
                GetPipelineJob=(
                    recorded.get_pipeline_job,
                    v1.GetPipelineJobRequest.deserialize,
                    v1.PipelineJob.serialize,
                ),
                ListPipelineJobs=(
                    recorded.list_pipeline_jobs,
                    v1.ListPipelineJobsRequest.deserialize,
                    v1.ListPipelineJobsResponse.serialize,
                ),
            ),
            _service(
                f"{_PREFIX}.MetadataService",
                GetContext=(recorded.get_context, v1.GetContextRequest.deserialize, v1.Context.serialize),
                CreateContext=(recorded.create_context, v1.CreateContextRequest.deserialize, v1.Context.serialize),
                GetMetadataStore=(
                    recorded.get_metadata_store,
                    v1.GetMetadataStoreRequest.deserialize,
                    v1.MetadataStore.serialize,
                ),
                CreateMetadataStore=(
                    recorded.create_metadata_store,
                    v1.CreateMetadataStoreRequest.deserialize,
                    operation,
                ),
                AddContextChildren=(
                    recorded.add_context_children,
                    v1.AddContextChildrenRequest.deserialize,
                    v1.AddContextChildrenResponse.serialize,
                ),
            ),
        )
    )
    identity = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("localhost:0", identity)
    server.start()
    recorded.endpoint = f"localhost:{port}"
    yield recorded
    server.stop(grace=None).wait()


def _service(name: str, **methods: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]) -> Any:
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(work, request_deserializer=read, response_serializer=write)
        for method, (work, read, write) in methods.items()
    }
    return grpc.method_handlers_generic_handler(name, handlers)


def write_localhost_certificate(certificate: Path, key: Path) -> None:
    """Write a new certificate for ``localhost``, and its key, as PEM files."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(tz=datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private_key, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(_pem(private_key))


def write_service_account(file: Path, email: str) -> None:
    """Write what ``gcloud iam service-accounts keys create`` downloads: an account with a new key."""
    content = {
        "type": "service_account",
        "project_id": "animals",
        "private_key_id": uuid.uuid4().hex,
        "private_key": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)).decode(),
        "client_email": email,
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    file.write_text(json.dumps(content), encoding="utf-8")


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
