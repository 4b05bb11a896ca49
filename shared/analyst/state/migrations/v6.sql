-- Registrations that ended: what was published for them is nobody's any more. Those of before are in the audit log.
create table withdrawn (uuid varchar not null, id varchar not null, "at" timestamp not null);
insert into withdrawn
select distinct on (uuid) uuid, id, "at"
from (
    select
        coalesce(params ->> 'uuid', audit_log.id) as uuid, substr(resource, length('table:') + 1) as id,
        timestamp as "at"
    from audit_log where action = 'table.deregister'
)
order by uuid, "at" desc;

-- A request is for the table that its id stood for. One that is bound to a registration that has ended can't be granted.
alter table access_requests add column table_uuid varchar;
update access_requests set table_uuid = ended.uuid
from (select id, max("at") as "at", max_by(uuid, "at") as uuid from withdrawn group by id) ended
where ended.id = access_requests.table_id and access_requests.created_at <= ended."at";
update access_requests set table_uuid = registered.uuid
from table_registry registered
where access_requests.table_uuid is null and registered.id = access_requests.table_id;

-- Who an identity provider says somebody is (`sub`), as it was when they first signed in with their e-mail.
create table identities (user_id varchar not null, issuer varchar not null, subject varchar not null, "at" timestamp not null);
