"""Where each step runs: resources, GPU requests and node placement, for Kubeflow on Kubernetes and for Vertex AI.

The two targets need different documents. Any ``kfp.kubernetes`` setting adds a second YAML document, which Vertex AI's
client refuses; Vertex AI picks a machine type from the limits, Kubernetes from labels and tolerations.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

from kfp import dsl, kubernetes

from components import __version__
from components.failures import UserError
from components.images import IMAGE_REFERENCE_VARIABLE, IMAGE_USER, published_reference
from components.launch.accelerators import Accelerator
from components.launch.image_registry import require_registry_and_tag

Target = Literal["kubeflow", "vertex"]
EmbeddingAudit = Literal["", "cpu", "gpu"]

_GKE_ACCELERATOR_LABEL = "cloud.google.com/gke-accelerator"
_GKE_SPOT_LABEL = "cloud.google.com/gke-spot"
_GPU_RESOURCE = "nvidia.com/gpu"
_PART_OF_LABEL, _VERSION_LABEL = "app.kubernetes.io/part-of", "app.kubernetes.io/version"
_WORKLOAD_LABEL = "image-classification/workload"
PROJECT_POD_LABELS = frozenset({_PART_OF_LABEL, _VERSION_LABEL, _WORKLOAD_LABEL})
"""Labels that every pod of a run carries, and that no user may set."""
WEIGHTS_FOLDER = "/weights"
"""Where training steps find the volume of ``weights_claim``."""

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names
_CLAIM = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_VERTEX_MAXIMUM_VCPUS, _VERTEX_MAXIMUM_GB = 96, 624
# A node keeps some of its CPUs and memory for itself: a pod that asks for all of them is never scheduled.
_SHARE_OF_NODE = 0.8


@dataclasses.dataclass(frozen=True)
class Placement:
    """Resources for the two kinds of steps: those on CPU, and those that train.

    Attributes:
        target: What the pipeline is compiled for.
        accelerator: GPU of the training steps, None to train on CPU.
        gpu_count: GPUs for each training step, on one node.
        spot: GPU steps may be preempted: they are started again, and without a node_selector go to GKE's spot nodes
            (Kubernetes only).
        evaluate_on_gpu: Give evaluation a GPU too.
        node_selector: Labels of the nodes for GPU steps, value by name, instead of all of GKE's own: those of the
            accelerator and of spot nodes. Empty: GKE's own.
        image_registry: Host and path the images are pulled from, empty for images that are already on the nodes.
        image_tag: Tag of the images, empty for the version of this package.
        weights_claim: PersistentVolumeClaim that training steps see at WEIGHTS_FOLDER, empty: none (Kubernetes only).
        image_digests: Digest by image, DATA or TRAINING, that pins its bytes; an image without one goes by its tag.
        image_names: What a step is told of the image DATA or TRAINING that it runs in, where that is not what it is
            pulled by.
        pod_labels: More labels of every pod, value by name (Kubernetes only).
        embedding_audit: Whether the pipeline has the step that audits embeddings, and what it runs on: a CPU machine,
            or the GPU of the training steps; empty: it has not.
    """

    target: Target
    accelerator: Accelerator | None
    gpu_count: int
    spot: bool
    evaluate_on_gpu: bool
    node_selector: Mapping[str, str]
    image_registry: str
    image_tag: str
    weights_claim: str = ""
    image_digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    image_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pod_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    embedding_audit: EmbeddingAudit = ""

    def __post_init__(self) -> None:
        if self.target == "vertex" and self.spot:
            raise UserError("Vertex AI Pipelines has no spot setting for a pipeline's steps; leave out --spot")
        if self.target == "vertex" and self.weights_claim:
            raise UserError("Vertex AI mounts no volumes; leave out --weights-claim, and set weights to a gs:// URI")
        if self.target == "vertex" and self.node_selector:
            raise UserError("Vertex AI picks machines itself; leave out --node-selector")
        if self.accelerator is None and (self.spot or self.evaluate_on_gpu or self.node_selector):
            raise UserError("--spot, --evaluate-on-gpu and --node-selector place GPU steps; give a --gpu too")
        if self.accelerator is None and self.embedding_audit == "gpu":
            raise UserError("--embedding-audit gpu needs a --gpu; without gpu it takes one where there is one")
        if self.weights_claim and not _CLAIM.fullmatch(self.weights_claim):
            raise UserError(
                f"--weights-claim {self.weights_claim} is no name of a PersistentVolumeClaim: it holds lowercase "
                "letters, digits, '-' and '.', and begins and ends with a letter or digit"
            )
        require_registry_and_tag(self.image_registry, self.image_tag)

    @property
    def training_gpus(self) -> int:
        """GPUs each training step must see, 0 on CPU."""
        return self.gpu_count if self.accelerator else 0

    @property
    def gpu_node_labels(self) -> Mapping[str, str]:
        """Labels that a node must have to be given a GPU step, value by name; empty on CPU and on Vertex AI."""
        if self.node_selector or self.accelerator is None or self.target == "vertex":
            return self.node_selector
        labels = {_GKE_ACCELERATOR_LABEL: self.accelerator.name}
        return labels | {_GKE_SPOT_LABEL: "true"} if self.spot else labels

    def image_reference(self, image: str) -> str:
        """Return where the image DATA or TRAINING is pulled from."""
        digest = self.image_digests.get(image, "")
        return published_reference(image, self.image_registry, self.image_tag, digest)

    def step_environment(self, image: str) -> dict[str, str]:
        """Return the variables of a step in the image DATA or TRAINING: what lineage is to call that image."""
        return {IMAGE_REFERENCE_VARIABLE: self.image_names.get(image) or self.image_reference(image)}

    def on_cpu(self, task: dsl.PipelineTask, *, vcpus: int, memory_gb: int) -> dsl.PipelineTask:
        """Give a step CPUs and memory."""
        self._pull_from_registry(task)
        task.set_cpu_limit(str(vcpus)).set_memory_limit(f"{memory_gb}G")
        if self.target == "kubeflow":
            self._secure_and_label(task, "cpu")
        return task

    def for_training(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Give a training step its GPUs, or a larger CPU machine when there are none."""
        self._mount_weights(task)
        if self.accelerator is None:
            return self.on_cpu(task, vcpus=8, memory_gb=32)
        return self._on_gpu(task, self.accelerator, self.gpu_count)

    def for_embeddings(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Give the audit of embeddings a CPU machine, or when asked for as few of training's GPUs as there can be."""
        self._mount_weights(task)
        if self.accelerator is not None and self.embedding_audit == "gpu":
            return self._on_gpu(task, self.accelerator, min(self.accelerator.machines))
        return self.on_cpu(task, vcpus=8, memory_gb=32)

    def for_evaluation(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Give evaluation a CPU machine, or the same GPU when asked for."""
        if self.accelerator is not None and self.evaluate_on_gpu:
            return self._on_gpu(task, self.accelerator, self.gpu_count)
        return self.on_cpu(task, vcpus=4, memory_gb=16)

    def _mount_weights(self, task: dsl.PipelineTask) -> None:
        if self.weights_claim:
            kubernetes.mount_pvc(task, self.weights_claim, WEIGHTS_FOLDER)

    def _on_gpu(self, task: dsl.PipelineTask, accelerator: Accelerator, gpu_count: int) -> dsl.PipelineTask:
        self._pull_from_registry(task)
        machine = accelerator.machines[gpu_count]
        task.set_accelerator_limit(gpu_count)
        if self.target == "vertex":
            task.set_accelerator_type(accelerator.vertex_type)
            task.set_cpu_limit(str(min(machine.vcpus, _VERTEX_MAXIMUM_VCPUS)))
            task.set_memory_limit(f"{min(machine.memory_gb, _VERTEX_MAXIMUM_GB)}G")
            return task
        task.set_accelerator_type(_GPU_RESOURCE)
        task.set_cpu_limit(str(int(machine.vcpus * _SHARE_OF_NODE)))
        task.set_memory_limit(f"{int(machine.memory_gb * _SHARE_OF_NODE)}G")
        for label, value in self.gpu_node_labels.items():
            kubernetes.add_node_selector(task, label, value)
        kubernetes.add_toleration(task, key=_GPU_RESOURCE, operator="Exists", effect="NoSchedule")
        if self.spot:
            # Where no node has this taint, tolerating it changes nothing.
            kubernetes.add_toleration(task, key=_GKE_SPOT_LABEL, operator="Equal", value="true", effect="NoSchedule")
            # A preempted step starts again on another node. Argo counts the maximum from the start of the first
            # attempt: a short one would give up on a step that had run for longer before it was preempted.
            task.set_retry(num_retries=5, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="7d")
        # The container default of 64 MB of shared memory starves NCCL and data loaders.
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit="8Gi")  # noqa: S108
        self._secure_and_label(task, "gpu")
        return task

    def _pull_from_registry(self, task: dsl.PipelineTask) -> None:
        image = task.container_spec.image
        task.set_container_image(self.image_reference(image))
        for name, value in self.step_environment(image).items():
            task.set_env_variable(name, value)

    def _secure_and_label(self, task: dsl.PipelineTask, workload: str) -> None:
        # The images' own user, said again where the cluster's policies look for it.
        kubernetes.set_security_context(task, run_as_user=IMAGE_USER, run_as_group=IMAGE_USER, run_as_non_root=True)
        kubernetes.add_pod_label(task, _PART_OF_LABEL, "image-classification")
        kubernetes.add_pod_label(task, _VERSION_LABEL, __version__)
        kubernetes.add_pod_label(task, _WORKLOAD_LABEL, workload)
        for name, value in self.pod_labels.items():
            kubernetes.add_pod_label(task, name, value)
