-- psql runs this once, on an empty volume: the mirror's owner is no superuser, who would pass every wall.
-- The image has read the variable from the file that POSTGRES_PASSWORD_FILE names; as root, which psql is not.
\getenv password POSTGRES_PASSWORD
CREATE ROLE medmirror LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE medmirror OWNER medmirror;
