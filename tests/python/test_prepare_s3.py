"""Files in an S3 store, prepared through a server of moto on loopback: the same shards as from local files."""

import logging
import os

import pytest
from moto.server import ThreadedMotoServer

from ssm_hpn.cli.main import main
from ssm_hpn.config import PrepareOptions
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.prepare import prepare, remote

FILES = {f"texts/{part}/{number}.txt": f"text {number} of {part} " * 30 for part in "ab" for number in range(6)}


@pytest.fixture(scope="module")
def endpoint():
    """The address of a server with the bucket `corpus`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it writes a line to stderr for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch, tmp_path):
    """A store with the files, and a working folder with the same ones."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)
    from pyarrow.fs import S3FileSystem

    address = endpoint.removeprefix("http://")
    store = S3FileSystem(endpoint_override=address, scheme="http", region="us-east-1", allow_bucket_creation=True)
    store.create_dir("corpus")
    for name, text in FILES.items():
        with store.open_output_stream(f"corpus/{name}") as stream:
            stream.write(text.encode())
        local = tmp_path / "local" / name
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_text(text)
    return store


def shards(folder):
    """The bytes of all shards."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.arrow"))}


@pytest.mark.parametrize(
    ("name", "count"), [("texts", 12), ("texts/a/3.txt", 1), ("texts/*/[0-3].txt", 8), ("texts/**/2.txt", 2)]
)
def test_a_prefix_an_object_and_a_pattern_give_the_shards_of_local_files(bucket, tmp_path, name, count):
    assert len(remote.listing(PrepareOptions(train=f"s3://corpus/{name}"))) == count, "others are not copied"
    split = {"split": "tail"} if name.endswith(("2.txt", "3.txt")) else {}
    there = prepare(PrepareOptions(train=f"s3://corpus/{name}", **split), tmp_path / "stored")
    here = prepare(PrepareOptions(train=f"local/{name}", **split), tmp_path / "from-files")
    assert shards(there.folder) == shards(here.folder)
    assert there.paths == [f"s3://corpus/{name}"]
    assert there.contract.origin.train == (f"s3://corpus/{name}",)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["from-files", "local", "stored"]


def test_what_is_prepared_is_copied_again_only_where_an_object_changed(bucket, tmp_path, monkeypatch):
    options = PrepareOptions(train="s3://corpus/texts")
    first = prepare(options, tmp_path / "data")
    copies = []
    monkeypatch.setattr(remote, "_copy", lambda *_: copies.append(1))
    assert prepare(options, tmp_path / "data") == first
    assert copies == []
    with bucket.open_output_stream("corpus/texts/a/0.txt") as stream:
        stream.write(b"another text " * 30)
    with pytest.raises(ConfigError, match=r"out: expected a new or empty folder, or one made from the same data"):
        prepare(options, tmp_path / "data")


def test_what_is_not_there_and_what_is_refused_is_said_in_one_line(bucket, tmp_path, monkeypatch, capsys):
    def said(*words):
        code = main(["prepare", *words, "--out", "data"], prog="ssm-hpn")
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        return code, error

    code, error = said("s3://corpus/no/such")
    assert (code, "s3://corpus/no/such: data.train: expected an object" in error) == (3, True), error
    code, error = said("s3://absent/texts")
    assert (code, "nothing there; check bucket and key" in error) == (3, True), error
    code, error = said("s3://corpus/texts", "local/texts")
    assert (code, "expected all files in one place" in error) == (2, True), error
    with bucket.open_output_stream("corpus/bad/x.csv") as stream:
        stream.write(b"id,x\n1,2\n1,three\n")
    code, error = said("s3://corpus/bad/x.csv", "--data.columns.features", "x", "--data.columns.id", "id")
    assert (code, "s3://corpus/bad/x.csv" in error, str(tmp_path) in error) == (3, True, False), error
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    code, error = said("s3://corpus/texts")
    assert (code, "check AWS_ENDPOINT_URL" in error) == (6, True), error


def test_wrong_credentials_are_named(bucket, endpoint, monkeypatch):
    def refused(*_, **__):
        raise OSError(
            "When listing objects under key 'texts' in bucket 'corpus': AWS Error ACCESS_DENIED during\n List"
        )

    class Store:
        get_file_info = refused

    monkeypatch.setattr(remote, "_store", Store)
    with pytest.raises(Exception, match=r"^s3://corpus/texts: cannot read: .*; check AWS_ACCESS_KEY_ID and") as raised:
        remote.listing(PrepareOptions(train="s3://corpus/texts"))
    assert "\n" not in str(raised.value)


def test_an_object_that_changes_while_it_is_copied_is_refused(bucket, tmp_path):
    objects = remote.listing(PrepareOptions(train="s3://corpus/texts/a/0.txt"))
    with bucket.open_output_stream("corpus/texts/a/0.txt") as stream:
        stream.write(b"shorter")
    with pytest.raises(DataError, match=r"0.txt: object: expected \d+ bytes, as it was listed, found 7"):
        remote.copied(PrepareOptions(train="s3://corpus/texts/a/0.txt"), objects, tmp_path / "copies")
