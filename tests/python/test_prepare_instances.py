"""Instances of the engine are used again as if they were new ones."""

import os
import signal
from pathlib import Path

import duckdb
import pytest

from ssm_hpn.prepare.engine import engine
from ssm_hpn.prepare.instances import _idle, close_idle

SETTINGS = "SELECT current_setting('memory_limit'), current_setting('threads'), current_setting('TimeZone')"


@pytest.fixture(autouse=True)
def none_idle():
    close_idle()


def settings(connection):
    return connection.execute(SETTINGS).fetchall()


def test_an_instance_is_used_again_and_nothing_of_its_last_use_is_left(tmp_path):
    import pyarrow as pa

    with engine(tmp_path) as connection:
        fresh = settings(connection)
        connection.execute("SET memory_limit = '300MB'")
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        connection.execute("CREATE TEMP TABLE kept AS SELECT 1")
        connection.register("handed_over", pa.table({"x": [1]}))
        reader = connection.sql("SELECT range FROM range(1000000)").to_arrow_reader(10)
        assert next(reader).num_rows
    (instance,) = _idle
    with engine(tmp_path) as connection:
        assert not _idle
        assert settings(connection) == fresh
        for name in ("kept", "handed_over"):
            with pytest.raises(duckdb.CatalogException, match=name):
                connection.execute(f"SELECT * FROM {name}")
        folder = connection.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]
        assert not any(Path(folder).iterdir())
    assert list(_idle) == [instance]


def test_two_uses_at_once_have_an_instance_each(tmp_path):
    with engine(tmp_path) as one, engine(tmp_path) as other:
        one.execute("SET memory_limit = '300MB'")
        assert settings(one) != settings(other)


def test_an_instance_that_failed_or_spilled_or_has_other_buffers_is_not_kept(tmp_path):
    with pytest.raises(KeyError), engine(tmp_path):
        raise KeyError
    with engine(tmp_path) as connection:
        connection.execute("CREATE TEMP TABLE big AS SELECT repeat('x', 50) || i AS a FROM range(3000000) t(i)")
    with engine(tmp_path, long_lines=True):
        pass
    assert not _idle
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork")  # of JAX, where an earlier test has loaded it
def test_a_forked_process_has_instances_of_its_own(tmp_path):
    with engine(tmp_path):
        pass
    assert _idle
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        if _idle:  # its threads are those of the parent
            os._exit(1)
        with engine(tmp_path) as connection:
            os._exit(int(connection.execute("SELECT sum(range) FROM range(3)").fetchall() != [(3,)]))
    assert os.waitpid(child, 0)[1] == 0


class Interrupted:
    """An instance that the engine was interrupted in, as after Ctrl-C."""

    closed = False

    def execute(self, *_):
        raise RuntimeError("Query interrupted")

    def close(self):
        self.closed = True


def test_an_interrupt_while_an_instance_is_set_up_is_one(tmp_path):
    instance = Interrupted()
    _idle.append(instance)
    with pytest.raises(KeyboardInterrupt), engine(tmp_path):
        pass
    assert instance.closed
    assert not _idle
