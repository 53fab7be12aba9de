-- The roles and the database of a PostGIS store: an owner that imports, a reader that may look at the store and at
-- nothing else. To be run by a superuser with psql (14 or newer), before the first import, and again to change a password:
--
--     sudo -u postgres env LOC2VEC_OWNER_PASSWORD=... LOC2VEC_READER_PASSWORD=... \
--         psql -v ON_ERROR_STOP=1 -d postgres < tiling/store/postgis/roles.sql
--     loc2vec import REGION.osm.pbf --store postgresql://loc2vec@HOST/loc2vec --reader loc2vec_api
--
-- Other names: -v owner=... -v reader=... -v database=... A role whose variable is not set keeps its password, or has none.

\if :{?owner} \else \set owner loc2vec \endif
\if :{?reader} \else \set reader loc2vec_api \endif
\if :{?database} \else \set database loc2vec \endif
\getenv owner_password LOC2VEC_OWNER_PASSWORD
\getenv reader_password LOC2VEC_READER_PASSWORD

SELECT format('CREATE ROLE %I', name) FROM (VALUES (:'owner'), (:'reader')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"owner" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE :"reader" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT CONNECTION LIMIT 64;
\if :{?owner_password}
ALTER ROLE :"owner" PASSWORD :'owner_password';
\endif
\if :{?reader_password}
ALTER ROLE :"reader" PASSWORD :'reader_password';
\endif

-- What a session of the reader starts with. Privileges, not these, keep it from writing: a session may set them anew,
-- all but temp_file_limit.
ALTER ROLE :"reader" SET default_transaction_read_only = on;
ALTER ROLE :"reader" SET statement_timeout = '10s';
ALTER ROLE :"reader" SET lock_timeout = '5s';
ALTER ROLE :"reader" SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE :"reader" SET jit = off;
ALTER ROLE :"reader" SET temp_file_limit = '256MB';

-- A cluster of the locale C has another encoding by default.
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8'' LOCALE ''C''', :'database', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;  -- CONNECT and TEMPORARY
GRANT CONNECT ON DATABASE :"database" TO :"reader";

\connect :"database"
CREATE EXTENSION IF NOT EXISTS postgis;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;  -- servers older than 15 grant it
-- Large objects are the one thing that any role may write.
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
