// Posts, in memory: whoever restarts this service begins with none.
const { randomBytes } = require('crypto');
const { serve, post } = require('../web');

const posts = {};

serve(process.env.PORT || 4000, {
  'GET /posts': () => [200, posts],
  'POST /posts': async ({ body }) => {
    const id = randomBytes(4).toString('hex');
    posts[id] = { id, title: body.title };
    await post('http://localhost:4005/events', { type: 'PostCreated', data: posts[id] });
    return [201, posts[id]];
  },
  'POST /events': ({ body }) => [200, { heard: body.type }],
});
