// Node-RED for the bench: no editor, no door, only the flow beside this file.
const folder = process.env.BENCH_FOLDER;
module.exports = {
    userDir: folder,
    flowFile: `${folder}/flows.json`,
    uiHost: "127.0.0.1",
    httpAdminRoot: false,
    httpNodeRoot: false,
    disableEditor: true,
    credentialSecret: false,
    functionExternalModules: false,
    functionGlobalContext: {
        // as the nodes for PostgreSQL do: a pool, a prepared statement, one query for each message
        pool: new (require("pg").Pool)({ connectionString: process.env.BENCH_DATABASE, max: 10 }),
    },
    logging: { console: { level: "warn", metrics: false, audit: false } },
};
