"""Downloads from a server on this machine: resumed, checked, unpacked whole or not at all."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kdarena.errors import UserError
from kdarena.tracks import fetching
from kdarena.tracks.downloads import DOWNLOADS, Download, File, command_in, mrpc_parts, remedy
from kdarena.tracks.fetching import WAITING, fetch


class Server:
    """Files by path; it breaks each connection after ``breaks`` bytes while there are any, and knows ranges or not."""

    def __init__(self):
        self.files, self.breaks, self.ranges, self.status, self.asked = {}, [], True, 200, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request):
        asked = request.headers.get("Range")
        self.asked.append(asked)
        content = self.files.get(request.path)
        if content is None or self.status != 200:
            return request.send_error(404 if content is None else self.status)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if start > len(content):
            return request.send_error(416)
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        end = start + self.breaks.pop(0) if self.breaks else len(content)
        return request.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


CONTENT = b"row\n" * 50_000


def packed(names, kind="tar.gz"):
    """An archive of files with :data:`CONTENT`."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in names:
                archive.writestr(name, CONTENT)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(CONTENT)
                archive.addfile(member, io.BytesIO(CONTENT))
    return buffer.getvalue()


def offered(server, content, name="set.tar.gz", gives="set/rows.tsv", *, published=True, **further):
    """A data set of one file that the server offers."""
    server.files[f"/{name}"] = content
    published = {"checksum": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)} if published else {}
    return Download("rows", (File(f"{server.url}/{name}", **published, **further),), gives)


@pytest.mark.parametrize(("kind", "published"), [("tar.gz", True), ("zip", True), ("zip", False)])
def test_an_archive_is_fetched_checked_and_unpacked_and_nothing_else_is_left(server, tmp_path, kind, published):
    download = offered(server, packed(["set/rows.tsv", "set/more/a.txt"], kind), f"set.{kind}", published=published)
    assert fetch(download, tmp_path) == tmp_path / "set/rows.tsv"
    assert (tmp_path / "set/rows.tsv").read_bytes() == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_a_folder_inside_an_archive_goes_where_it_belongs(server, tmp_path):
    download = offered(server, packed(["set-master/rows.tsv", "other.txt"], "zip"), "set.zip", "mine/rows.tsv", to="mine", inside="set-master")
    fetch(download, tmp_path)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["rows.tsv"] and not (tmp_path / "other.txt").exists()


def test_a_broken_connection_goes_on_from_where_it_broke(server, tmp_path):
    server.breaks = [70_000, 50_000]
    fetch(offered(server, CONTENT, "rows.tsv", "set/rows.tsv", to="set/rows.tsv"), tmp_path)
    assert server.asked == [None, "bytes=70000-", "bytes=120000-"]
    assert (tmp_path / "set/rows.tsv").read_bytes() == CONTENT


def test_a_server_that_knows_no_ranges_sends_the_whole_file_again(server, tmp_path):
    server.breaks, server.ranges = [70_000], False
    fetch(offered(server, CONTENT, "rows.tsv", "rows.tsv", to="rows.tsv"), tmp_path)
    assert (tmp_path / "rows.tsv").read_bytes() == CONTENT


def test_another_command_goes_on_with_what_an_earlier_one_got(server, tmp_path):
    download = offered(server, CONTENT, "rows.tsv", "rows.tsv", to="rows.tsv")
    server.breaks = [70_000, *[0] * fetching.ATTEMPTS]
    with pytest.raises(UserError, match=r"rows.tsv stopped after 0.1 of 0.2 MB .*run the command again, which goes on from there$"):
        fetch(download, tmp_path)
    server.asked.clear()
    fetch(download, tmp_path)
    assert server.asked == ["bytes=70000-"]


def test_a_file_without_a_published_checksum_is_never_put_together_of_two_connections(server, tmp_path):
    server.breaks = [70_000]
    fetch(offered(server, CONTENT, "rows.tsv", "rows.tsv", to="rows.tsv", published=False), tmp_path)
    assert (tmp_path / "rows.tsv").read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long_is_replaced(server, tmp_path):
    download = offered(server, CONTENT, "rows.tsv", "rows.tsv", to="rows.tsv")
    (tmp_path / WAITING).mkdir()
    (tmp_path / WAITING / "rows.tsv.partial").write_bytes(CONTENT + b"more")
    fetch(download, tmp_path)
    assert (tmp_path / "rows.tsv").read_bytes() == CONTENT


@pytest.mark.parametrize("partial", [b"", b"x" * 1000])
def test_a_wrong_checksum_names_both_and_leaves_nothing(server, tmp_path, partial):
    download = offered(server, CONTENT, "rows.tsv", "rows.tsv", to="rows.tsv")
    server.files["/rows.tsv"] = CONTENT.swapcase()
    (tmp_path / WAITING).mkdir()
    (tmp_path / WAITING / "rows.tsv.partial").write_bytes(partial)
    with pytest.raises(UserError, match=r"its sha256 is \w{64} instead of \w{64}: it was damaged on its way or has changed, and is removed; run"):
        fetch(download, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == [WAITING]


@pytest.mark.parametrize(
    ("kind", "names"), [("tar.gz", ["../out.txt"]), ("tar.gz", ["set/../../out.txt"]), ("zip", ["../out.txt"]), ("zip", ["a\\..\\..\\out.txt"])]
)
def test_an_archive_that_points_outside_is_refused(server, tmp_path, kind, names):
    root = tmp_path / "root"
    with pytest.raises(UserError, match=r"it can't be unpacked \(.*outside"):
        fetch(offered(server, packed(["set/rows.tsv", *names], kind), f"set.{kind}"), root)
    assert [path.name for path in tmp_path.iterdir()] == ["root"] and not (root / "set").exists()


@pytest.mark.parametrize("name", ["set.tar.gz", "set.zip", "set.tar"])
def test_what_is_no_archive_is_one_line(server, tmp_path, name):
    with pytest.raises(UserError, match="it can't be unpacked") as caught:
        fetch(offered(server, b"<html>busy</html>" * 100, name, published=False), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_has_moved_is_one_line_without_further_tries(server, tmp_path):
    download = offered(server, CONTENT, "rows.tsv", "rows.tsv", to="rows.tsv")
    server.files.clear()
    with pytest.raises(UserError, match=r"rows.tsv: the server answers 404 Not Found: the file may have moved; fetch it by hand$"):
        fetch(download, tmp_path)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server, tmp_path):
    download = offered(server, CONTENT, "rows.tsv", "rows.tsv", to="rows.tsv")
    server.status = 503
    with pytest.raises(UserError, match="503 Service Unavailable"):
        fetch(download, tmp_path)
    assert len(server.asked) == fetching.ATTEMPTS


def test_no_network_is_one_line_that_says_where_a_file_can_be_put(server, tmp_path):
    download = offered(server, packed(["set/rows.tsv"]))
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(
        UserError, match=r"set.tar.gz can't be reached \(Connection refused\): check the network, or put the file to .*/set.tar.gz yourself; then run"
    ):
        fetch(download, tmp_path)


def test_an_archive_that_lies_in_the_root_is_used_and_kept(server, tmp_path):
    content = packed(["set/rows.tsv"])
    download = offered(server, content)
    (tmp_path / "set.tar.gz").write_bytes(content)
    fetch(download, tmp_path)
    assert server.asked == [] and (tmp_path / "set/rows.tsv").exists() and (tmp_path / "set.tar.gz").exists()


def test_the_files_that_are_whole_are_not_fetched_again(server, tmp_path):
    first, second = offered(server, packed(["set/a.txt"]), "a.tar.gz"), offered(server, packed(["set/rows.tsv"]), "b.tar.gz")
    both = Download("rows", (*first.files, *second.files), "set/rows.tsv")
    kept = server.files.pop("/b.tar.gz")
    with pytest.raises(UserError, match="404"):
        fetch(both, tmp_path)
    server.files["/b.tar.gz"] = kept
    server.asked.clear()
    fetch(both, tmp_path)
    assert len(server.asked) == 1 and {path.name for path in (tmp_path / "set").iterdir()} == {"a.txt", "rows.tsv"}


def test_a_root_that_cant_be_written_to_is_one_line(server, tmp_path):
    (tmp_path / "root").write_text("a file")
    with pytest.raises(UserError, match="root.*: give a --root that can be written to"):
        fetch(offered(server, CONTENT), tmp_path / "root")


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(server, tmp_path):
    huge = Download("rows", (File(f"{server.url}/rows.tar.gz", size=10**18),), "rows")
    with pytest.raises(UserError, match="GB are needed: make room"):
        fetch(huge, tmp_path)
    assert server.asked == []


def test_mrpc_is_cut_by_the_list_of_pairs(tmp_path):
    folder = tmp_path / "glue/MRPC"
    folder.mkdir(parents=True)
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    rows = ["1\t10\t20\ta \u2028 line\tb", '0\t11\t21\t"c\td']
    (folder / "msr_paraphrase_train.txt").write_bytes("\ufeff".encode() + "\r\n".join([header, *rows]).encode())
    (folder / "mrpc_dev_ids.tsv").write_text("11\t21\n")
    mrpc_parts(tmp_path)
    assert (folder / "train.tsv").read_text("utf-8") == f"{header}\n{rows[0]}\n"
    assert (folder / "dev.tsv").read_text("utf-8") == f"{header}\n{rows[1]}\n"
    (folder / "mrpc_dev_ids.tsv").write_text("1\t1\n")
    with pytest.raises(ValueError, match="names none or all"):
        mrpc_parts(tmp_path)


def test_every_file_has_a_safe_address_and_a_place_below_the_root():
    for download in DOWNLOADS.values():
        assert not download.gives.startswith("/") and download.files
        for file in download.files:
            assert file.url.startswith("https://") and not file.to.startswith("/") and ".." not in file.to
            assert (file.size is None) == (file.checksum is None)
            assert file.checksum is None or len(file.checksum) == {"md5": 36, "sha256": 71}[file.checksum.partition(":")[0]]


def test_the_command_that_fetches_a_data_set_is_found_in_what_says_that_it_is_missing():
    assert command_in(f"rows are missing: {remedy('cola', None, 'give --data-root DIR')}") == "kdarena data fetch cola"
    assert command_in(remedy("cola", "/my data")) == "kdarena data fetch cola --root '/my data'"
    assert command_in("soundfile is not installed") is None
