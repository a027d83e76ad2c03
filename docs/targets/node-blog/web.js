// The little of a web framework that five small services need: routes, JSON, and a way to ask.
const http = require('http');

// `routes`: 'POST /posts/:id/comments' -> ({ params, body }) -> [status, answer], or a promise of it.
exports.serve = (port, routes, ready = () => {}) => {
  const known = Object.entries(routes).map(([route, handler]) => {
    const [method, path] = route.split(' ');
    const pattern = new RegExp(`^${path.replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`);
    return { method, pattern, handler };
  });
  const server = http.createServer(async (req, res) => {
    const path = req.url.split('?')[0];
    const route = known.find((one) => one.method === req.method && one.pattern.test(path));
    let [status, answer] = [404, { error: `no route ${req.method} ${path}` }];
    try {
      const body = await read(req);
      if (route) [status, answer] = await route.handler({ params: path.match(route.pattern).groups, body });
    } catch (error) {
      console.log(error.message);
      [status, answer] = [error instanceof SyntaxError ? 400 : 500, { error: error.message }];
    }
    res.writeHead(status, { 'Content-Type': 'application/json' });
    res.end(JSON.stringify(answer));
  });
  server.listen(port, '127.0.0.1', () => {
    console.log(`Listening on ${port}`);
    ready();
  });
};

// Ask somebody, and wait for the JSON that comes back; an answer of 400 or more is an error.
const ask = (method, url, body) =>
  new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/json' };
    const req = http.request(url, { method, headers }, (res) => {
      if (res.statusCode >= 400) reject(new Error(`${method} ${url}: ${res.statusCode}`));
      read(res).then(resolve, reject);
    });
    req.on('error', reject);
    req.end(body && JSON.stringify(body));
  });

exports.get = (url) => ask('GET', url);
exports.post = (url, body) => ask('POST', url, body);

const read = async (stream) => {
  let text = '';
  for await (const piece of stream.setEncoding('utf8')) text += piece;
  return text ? JSON.parse(text) : {};
};
