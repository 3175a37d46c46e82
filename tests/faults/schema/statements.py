"""Statements that several tests run as CMP's owner, or as its writer."""

from __future__ import annotations

NEW_TABLE = """
create table fresh (like projects including all);
insert into fresh select * from projects;
drop table projects;
alter table fresh rename to projects;
grant select, insert, update, delete on projects to WRITER
"""
"""The table, dropped and made again with its rows, but without omnicdc's triggers."""

CHANGES = (
    "insert into projects (name, status) values ('while it was broken', 'new')",
    "update projects set status = clock_timestamp()::text where key = 'key-7'",
    "delete from projects where key = (select max(key) from projects)",
)
"""One transaction of a writer: a project added, one changed, one deleted."""

PARTITIONED_BY_TYPE = """
create table by_type (like projects including defaults) partition by list (type);
insert into by_type select * from projects where false;
drop table projects;
alter table by_type rename to projects;
create table services partition of projects for values in ('SERVICE');
create table others partition of projects default;
grant select, insert, update, delete on projects to WRITER
"""
"""The table, empty and partitioned by `type`, with one partition for services and one for the others."""
