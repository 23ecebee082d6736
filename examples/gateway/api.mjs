// An API in another language. It does not handle tokens: the caller is in fields that only the proxy can write.
import { createServer } from "node:http";

const server = createServer((request, response) => {
  const body = [];
  request.on("data", (part) => body.push(part));
  request.on("end", () => {
    const caller = request.headers["x-token-client"] ?? "";
    const scope = request.headers["x-token-scope"] ?? "";
    const answer = { method: request.method, target: request.url, caller, scope, body: Buffer.concat(body).toString() };
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify(answer));
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1");
