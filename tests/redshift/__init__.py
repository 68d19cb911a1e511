"""A stand-in for Redshift: its wire protocol, dialect, COPY and refusals, before a PostgreSQL. It is not Redshift.

    def test_something(redshift: StandIn) -> None:      # the fixture; started once for all tests
        with redshift.database() as database:           # a database of the test's own, gone afterwards
            with database.connect() as db:              # redshift_connector, autocommit off; as for any Redshift
                db.cursor().execute("create table t (id bigint, name varchar(8)) distkey (id)")
            database.environment                        # what dbt's target `redshift` reads

COPY and UNLOAD reach the S3 server that `redshift.s3 = s3.endpoint` names (fixture `s3`); any IAM_ROLE will do.
docs/production/redshift.md says what this cannot show.
"""
