// SPDX-License-Identifier: Apache-2.0
//
// Reads {name: query} on standard input; writes {name: [what is wrong]}, by Microsoft's own parser and schema.json.

require("@kusto/language-service-next/bridge");
require("@kusto/language-service-next");

const { Symbols, GlobalState, KustoCode } = Kusto.Language;
const schema = require("./schema.json");

const tables = Object.entries(schema).map(([name, columns]) => new Symbols.TableSymbol.$ctor7(name, columns, null));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("insights", tables));

const diagnose = (query) => {
  const found = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
  return Array.from({ length: found.Count }, (_, index) => {
    const { Message, Start } = found.getItem(index);
    return `line ${query.slice(0, Start).split("\n").length}: ${Message}`;
  });
};

const queries = JSON.parse(require("fs").readFileSync(0, "utf8"));
const result = Object.fromEntries(Object.entries(queries).map(([name, query]) => [name, diagnose(query)]));
process.stdout.write(JSON.stringify(result));
